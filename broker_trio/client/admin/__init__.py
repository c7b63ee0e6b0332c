"""The admin client: see admin.py for the whole and the other modules for its parts."""
