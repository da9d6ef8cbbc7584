"""Serving: requests through the layers of a route, and adapters on the engines that answer for them."""
