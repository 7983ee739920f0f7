"""`python -m pyserver` is the same as the `pyserver` command."""

from pyserver.cli.main import main

if __name__ == "__main__":
    main()
