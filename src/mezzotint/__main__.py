"""`python -m mezzotint` is `mezzotint`."""

from mezzotint.cli.main import main

if __name__ == "__main__":
    main()
