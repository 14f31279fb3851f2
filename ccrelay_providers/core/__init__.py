"""The machine. All mutable state lives here, each piece one object with one lock."""
