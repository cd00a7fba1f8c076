"""Formats on the wire: bytes in, values out. No sockets here."""
