"""Observability of a server: metrics, the access log, the audit log and traces. It knows no transport."""
