"""Members: accounts, profiles, log-in, short access tokens and refresh tokens that work once."""
