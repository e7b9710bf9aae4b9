-- The tables of the peers. `product` and `purchase` are what the article's services keep;
-- the rest is what it takes to give the guarantees of Sluice.
CREATE TABLE product (
    sku text PRIMARY KEY,
    price_minor bigint NOT NULL,
    stock bigint NOT NULL CHECK (stock >= 0)
);
CREATE TABLE purchase (
    id bigint PRIMARY KEY,
    customer text NOT NULL,
    sku text NOT NULL REFERENCES product,
    quantity integer NOT NULL,
    total_minor bigint NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE idempotency (
    account_id bigint NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    status integer,
    body bytea,
    PRIMARY KEY (account_id, key)
);
CREATE TABLE movement (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku text NOT NULL REFERENCES product,
    purchase_id bigint NOT NULL REFERENCES purchase,
    delta bigint NOT NULL,
    balance bigint NOT NULL
);
CREATE TABLE outbox (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    type text NOT NULL,
    purchase_id bigint NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz
);
CREATE INDEX outbox_unsent ON outbox (created_at) WHERE sent_at IS NULL;
