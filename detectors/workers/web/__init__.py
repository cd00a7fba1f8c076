"""The worker that serves the page in the browser. It needs the extra ``web``, whose packages are imported only here."""
