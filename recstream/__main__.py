"""The command line as a module: ``python -m recstream``; the supervisor starts the roles so."""

from recstream.cli import main

if __name__ == "__main__":
    main()
