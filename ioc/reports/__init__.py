"""What the commands print: each report as text for people, and as JSON."""
