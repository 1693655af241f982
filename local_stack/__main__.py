"""`python -m local_stack`: the same as `wattlake`."""

from local_stack.cli.main import main

if __name__ == "__main__":
    main()
