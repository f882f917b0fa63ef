"""`python -m ethos` is the command `ethos`."""

from ethos.cli.main import main

if __name__ == "__main__":
    main()
