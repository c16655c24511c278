-- What was replayed stays counted as that.
update weir.quarantine
   set event = '{}', tuple = '', message = 'forgotten', event_id = '00000000-0000-0000-0000-000000000000',
       outcome = case outcome when 'quarantined' then 'forgotten' else outcome end
 where id = any ($1)
