"""From a file of results to what people read: tables, plots, and what got worse since another."""
