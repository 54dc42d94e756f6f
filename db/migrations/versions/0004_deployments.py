"""Deployments: their health and quotas, which the whole fleet shares, and calls that were lost."""

from alembic import op

revision = "0004_deployments"
down_revision = "0003_gateway"

FUNCTIONS = """
-- Of the fleet, not of a tenant: only the functions below may read or write these two.
CREATE TABLE deployment_health (
    name text PRIMARY KEY,
    outcomes bigint NOT NULL DEFAULT 0,
    calls integer NOT NULL DEFAULT 0,
    last_at timestamptz NOT NULL DEFAULT now(),
    open_until timestamptz,
    probing_until timestamptz,
    blocked_until timestamptz,
    first_token_ms double precision
) WITH (fillfactor = 50);
CREATE TABLE rate_meters (
    name text PRIMARY KEY,
    minute bigint NOT NULL,
    requests integer NOT NULL,
    tokens integer NOT NULL,
    last_requests integer NOT NULL,
    last_tokens integer NOT NULL
) WITH (fillfactor = 50);
REVOKE ALL ON deployment_health, rate_meters FROM PUBLIC;

-- Takes a request and its tokens from a minute's quota, or gives the milliseconds until there is
-- room. The window slides: what is left of the last minute counts in proportion.
CREATE FUNCTION take_quota(meter text, requests_limit integer, tokens_limit integer,
    wanted integer, share double precision) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    seconds double precision := extract(epoch FROM clock_timestamp());
    this_minute bigint := floor(seconds / 60);
    rest double precision := 1 - (seconds / 60 - floor(seconds / 60));
    m rate_meters;
BEGIN
    IF requests_limit IS NULL AND tokens_limit IS NULL THEN
        RETURN 0;
    END IF;
    INSERT INTO rate_meters AS r VALUES (meter, this_minute, 0, 0, 0, 0)
    ON CONFLICT (name) DO UPDATE SET
        last_requests = CASE r.minute WHEN this_minute THEN r.last_requests
            WHEN this_minute - 1 THEN r.requests ELSE 0 END,
        last_tokens = CASE r.minute WHEN this_minute THEN r.last_tokens
            WHEN this_minute - 1 THEN r.tokens ELSE 0 END,
        requests = CASE r.minute WHEN this_minute THEN r.requests ELSE 0 END,
        tokens = CASE r.minute WHEN this_minute THEN r.tokens ELSE 0 END,
        minute = this_minute
    RETURNING * INTO m;
    IF m.requests + m.last_requests * rest + 1 > requests_limit * share
        OR (m.tokens + m.last_tokens * rest > 0
            AND m.tokens + m.last_tokens * rest + wanted > tokens_limit * share) THEN
        RETURN least(ceil(rest * 60000), 1000 + ceil(60000 / greatest(
            coalesce(requests_limit, 60), 1)))::integer;
    END IF;
    UPDATE rate_meters SET requests = requests + 1, tokens = tokens + wanted WHERE name = meter;
    RETURN 0;
END $$;

-- The first of these deployments that may be asked now: its place (0: none), why each one before
-- it may not, and the milliseconds until the first of those may.
CREATE FUNCTION enter_deployment(names text[], request_limits integer[], token_limits integer[],
    wanted integer, share double precision, probe interval,
    OUT place integer, OUT refusals text[], OUT wait_ms integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    h deployment_health;
    refusal text;
    pause double precision;
BEGIN
    place := 0;
    refusals := '{}';
    FOR i IN 1 .. cardinality(names) LOOP
        refusal := NULL;
        pause := 0;
        SELECT * INTO h FROM deployment_health d WHERE d.name = names[i];
        IF FOUND AND h.blocked_until > clock_timestamp() THEN
            refusal := 'rate_limited';
            pause := extract(epoch FROM h.blocked_until - clock_timestamp()) * 1000;
        ELSIF FOUND AND h.open_until > clock_timestamp() THEN
            refusal := 'open';
            pause := extract(epoch FROM h.open_until - clock_timestamp()) * 1000;
        ELSIF FOUND AND h.open_until IS NOT NULL THEN
            -- Half-open: one call tries, for all of the fleet.
            UPDATE deployment_health d SET probing_until = clock_timestamp() + probe
            WHERE d.name = names[i] AND coalesce(d.probing_until, '-infinity') < clock_timestamp();
            IF NOT FOUND THEN
                refusal := 'open';
                pause := 1000;
            END IF;
        END IF;
        IF refusal IS NULL THEN
            pause := take_quota('deployment:' || names[i], request_limits[i], token_limits[i],
                wanted, share);
            IF pause = 0 THEN
                place := i;
                RETURN;
            END IF;
            refusal := 'quota';
        END IF;
        refusals := refusals || refusal;
        wait_ms := least(coalesce(wait_ms, ceil(pause)::integer), ceil(pause)::integer);
    END LOOP;
END $$;

-- One outcome into the window of the last 8 (unless it is unknown); true when it has opened the
-- breaker.
CREATE FUNCTION note_outcome(deployment text, succeeded boolean, first_ms double precision,
    minimum integer, error_rate double precision, pause interval, block interval)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    was_open boolean;
    h deployment_health;
BEGIN
    INSERT INTO deployment_health (name) VALUES (deployment) ON CONFLICT DO NOTHING;
    SELECT * INTO h FROM deployment_health WHERE name = deployment FOR UPDATE;
    was_open := h.open_until IS NOT NULL;
    IF was_open AND succeeded AND h.probing_until IS NOT NULL
        OR h.last_at < clock_timestamp() - interval '2 minutes' THEN
        h.outcomes := 0;
        h.calls := 0;
    END IF;
    IF succeeded IS NOT NULL THEN
        h.outcomes := ((h.outcomes << 1) | (NOT succeeded)::integer) & ((1::bigint << 8) - 1);
        h.calls := least(h.calls + 1, 8);
    END IF;
    IF succeeded AND h.probing_until IS NOT NULL THEN
        h.open_until := NULL;
        h.probing_until := NULL;
    ELSIF NOT succeeded AND (h.probing_until IS NOT NULL OR (NOT was_open AND h.calls >= minimum
        AND length(replace(h.outcomes::bit(8)::text, '0', '')) >= error_rate * h.calls)) THEN
        h.open_until := clock_timestamp() + pause;
        h.probing_until := NULL;
    END IF;
    UPDATE deployment_health SET outcomes = h.outcomes, calls = h.calls,
        last_at = clock_timestamp(), open_until = h.open_until, probing_until = h.probing_until,
        blocked_until = CASE WHEN block IS NULL THEN h.blocked_until
            ELSE clock_timestamp() + block END,
        first_token_ms = CASE WHEN first_ms IS NULL THEN h.first_token_ms
            WHEN h.first_token_ms IS NULL THEN first_ms
            ELSE 0.8 * h.first_token_ms + 0.2 * first_ms END
    WHERE name = deployment;
    RETURN h.open_until IS NOT NULL AND NOT was_open;
END $$;

CREATE FUNCTION health_of(names text[]) RETURNS TABLE (name text, state text, calls integer,
    failures integer, first_token_ms double precision, retry_in_seconds double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT d.name, CASE WHEN d.open_until IS NULL THEN 'closed'
            WHEN d.open_until > clock_timestamp() THEN 'open' ELSE 'half_open' END,
        d.calls, length(replace(d.outcomes::bit(8)::text, '0', '')), d.first_token_ms,
        greatest(0, coalesce(extract(epoch FROM
            greatest(d.open_until, d.blocked_until) - clock_timestamp()), 0))::double precision
    FROM deployment_health d WHERE d.name = ANY (names)
$$;

-- Calls whose worker is gone are charged what they had reserved.
CREATE FUNCTION close_lost_model_calls(age interval, how_many integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    closed integer;
BEGIN
    WITH lost AS (
        UPDATE model_calls c SET status = 'lost', estimated = true, finished_at = now(),
            cost_micros = c.reserved_micros
        WHERE (c.tenant_id, c.id) IN (
            SELECT o.tenant_id, o.id FROM model_calls o
            WHERE o.finished_at IS NULL AND o.created_at < now() - age
            ORDER BY o.created_at LIMIT how_many FOR UPDATE SKIP LOCKED)
        RETURNING c.tenant_id, c.run_id, c.reserved_micros, c.budgets, c.input_tokens
    ), charged AS (
        UPDATE budget_spending s SET spent_micros = s.spent_micros + b.micros,
            reserved_micros = s.reserved_micros - b.micros
        FROM (SELECT l.tenant_id, e.item, sum(l.reserved_micros)::bigint AS micros
              FROM lost l, jsonb_array_elements(l.budgets) AS e (item) GROUP BY 1, 2) AS b
        WHERE s.tenant_id = b.tenant_id AND s.budget_id = b.item->>0
          AND s.subject = b.item->>1 AND s.starts_on = (b.item->>2)::date
    ), billed AS (
        UPDATE runs r SET cost_micros = r.cost_micros + b.micros,
            input_tokens = r.input_tokens + b.tokens
        FROM (SELECT l.tenant_id, l.run_id, sum(l.reserved_micros)::bigint AS micros,
                  sum(l.input_tokens)::integer AS tokens
              FROM lost l GROUP BY 1, 2) AS b
        WHERE r.tenant_id = b.tenant_id AND r.id = b.run_id
    )
    SELECT count(*) INTO closed FROM lost;
    RETURN closed;
END $$;
REVOKE ALL ON FUNCTION take_quota, enter_deployment, note_outcome, health_of,
    close_lost_model_calls FROM PUBLIC;
"""


def upgrade() -> None:
    op.execute(FUNCTIONS)
    op.execute(
        "GRANT EXECUTE ON FUNCTION take_quota, enter_deployment, note_outcome, health_of, "
        "close_lost_model_calls TO perdure_app"
    )
