"""Fakes, builders and small worlds that the tests share."""
