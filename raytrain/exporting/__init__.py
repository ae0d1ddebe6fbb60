"""`raytrain export`: trained encoders for other programs, reloaded and compared before they are put there."""

from raytrain.exporting.write import ExportReport, export_run

__all__ = ["ExportReport", "export_run"]
