select segment_id, source, accepted from weir.promises where pending > 0
