-- Waits for whoever holds the row, then leaves it where no compare-and-set finds it.
update weir.ledger
   set applied_crc = -1, updated_at = now()
 where segment_id = $1
returning applied_to, applied_crc
