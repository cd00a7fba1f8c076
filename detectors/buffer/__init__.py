"""The binary buffer on disk: layout, writer, reader, repair."""
