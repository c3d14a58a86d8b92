"`python -m interest_book` is the `interest-book` command."
from interest_book.cli import main

if __name__ == "__main__": raise SystemExit(main())
