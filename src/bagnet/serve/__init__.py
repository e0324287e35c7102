"""The viewer page and the service: an HTTP interface to `explain`, a folder for any web server, a cell of a notebook."""
