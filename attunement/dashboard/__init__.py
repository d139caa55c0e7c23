"""The web page beside a running loop, or over a finished ledger."""
