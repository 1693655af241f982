"""Security headers of pages: the sources that a browser may use, and no framing."""


def page_headers(sources: str) -> dict[str, str]:
    """The headers; `sources` are the directives of what the page has, and all else is refused."""
    return {
        "Content-Security-Policy": f"default-src 'none'; {sources}; base-uri 'none'; "
        "frame-ancestors 'none'",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }
