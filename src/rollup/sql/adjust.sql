update weir.rollups
   set every = $2, keep = $3, description = $4, upstream = $5, is_defined = true,
       -- Of buckets, the time zone is part of the definition's hash.
       timezone = $6
 where name = $1
