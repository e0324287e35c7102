"""How anything looks: pictures of evidence, charts, sheets of small pictures and pages."""
