"""python -m ambassador."""

from ambassador.cli import main

if __name__ == "__main__":
    main()
