"""The web server of `unroll page`: a page, its JSON API and the standard REST protocol, as a client of one server."""
