"""Speaks to clients over HTTP: translates wire ↔ domain, calls the services, decides nothing."""
