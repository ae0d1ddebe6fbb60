"""Pictures and pages made of a run: contact sheets, figures, reports."""
