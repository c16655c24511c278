update weir.ledger
   set applied_to = $4, applied_crc = $5, updated_at = now()
 where segment_id = $1 and applied_to = $2 and applied_crc = $3
