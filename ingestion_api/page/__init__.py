"""The web page: templates, styles, modules, and the library of its charts."""
