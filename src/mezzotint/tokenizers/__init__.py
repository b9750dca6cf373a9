"""Tokenizers: between uint8 images and what a generator works on."""
