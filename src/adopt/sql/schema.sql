select to_regclass('weir.ledger') is not null and to_regclass('weir.promises') is not null
