"""What can be watched where: titles, availability by region and licence dates, lists, search, details."""
