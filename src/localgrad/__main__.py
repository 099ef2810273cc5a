"""`python -m localgrad`: the command line."""

from localgrad.cli.main import main

if __name__ == "__main__":
    main()
