"""What feedback of more dimensions buys RFLO."""
