"""The best sampling settings for a time budget, searched for and measured on this machine."""
