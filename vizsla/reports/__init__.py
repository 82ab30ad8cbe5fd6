"""Every page and chart: self-contained HTML, no script, no network."""
