select source, accepted, stored, duplicate, quarantined from weir.ledger_sources where segment_id = $1
