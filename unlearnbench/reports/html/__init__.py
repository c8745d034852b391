"""`report.html`: one file that shows a finished comparison, opened from disk without a network.

`page` puts it together; `table`, `charts`, `curves` and `items` each make one of its parts. plotly and jinja2 are imported
when a report is written, not before.
"""
