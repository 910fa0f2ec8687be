"""Trained runs for others: packed with a card, kept in folders or on web servers, found again by name."""
