"""The page on the screen: its templates, its style, its modules, and the library of its charts."""
