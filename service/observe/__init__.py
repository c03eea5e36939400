"""What a server shows of itself: metrics, the access log, the audit, traces. Knows no transport."""
