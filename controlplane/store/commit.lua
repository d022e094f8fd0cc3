-- One change of the registry: all operations with one revision, or none.
--
-- --input   KEYS  epoch revision revisions services instances names macs
--                 changes events leader node rules history...
--                 (one history key per operation, in their order)
--           ARGV  epoch       that the caller knows
--                 deadline    ms since 1970 of Redis' clock, 0: none
--                 leader      value of the leader's key, "": not required
--                 node_epoch  of the caller's lease, "": not required
--                 changes_max events_max history_max history_ttl
--                 n           number of operations
--                 then for each operation:
--                   op (put, del) kind id expected (revision, 0: absent)
--                   text mac name was (its name until now) history
--                 then the number of events, and for each:
--                   type kind id data
-- --output  ok revision
--           conflict kind id revision text mac    (revision 0: not there)
--           name id other                         the name is other's
--           epoch current | late now | fenced what

local epoch = redis.call('GET', KEYS[1])

if not epoch or epoch ~= ARGV[1] then
    return {'epoch', epoch or ''}
end

-- A command that waited in the socket of a frozen Redis is too late: its
-- caller has said that nothing happened.

local deadline = tonumber(ARGV[2])

if deadline > 0 then
    local t = redis.call('TIME')
    local now = t[1] * 1000 + math.floor(t[2] / 1000)

    if now > deadline then
        return {'late', tostring(now)}
    end
end

if ARGV[3] ~= '' and redis.call('GET', KEYS[10]) ~= ARGV[3] then
    return {'fenced', 'leader'}
end

if ARGV[4] ~= '' and redis.call('HGET', KEYS[11], 'epoch') ~= ARGV[4] then
    return {'fenced', 'node'}
end

local n = tonumber(ARGV[9])
local first = 10

local hashes = { service = KEYS[4], instance = KEYS[5], rule = KEYS[12] }

-- All is looked at before anything is written.

for i = 0, n - 1 do
    local at = first + i * 9
    local kind, id = ARGV[at + 1], ARGV[at + 2]
    local field = kind .. '/' .. id
    local docs = hashes[kind]
    local revision = 0

    if redis.call('HEXISTS', docs, id) == 1 then
        revision = tonumber(redis.call('HGET', KEYS[3], field) or 1)
    end

    if revision ~= tonumber(ARGV[at + 3]) then
        return {'conflict', kind, id, revision,
                redis.call('HGET', docs, id),
                kind == 'service' and redis.call('HGET', KEYS[7], id)}
    end

    local name = ARGV[at + 6]

    if name ~= '' and name ~= ARGV[at + 7] then
        local other = redis.call('HGET', KEYS[6], name)

        if other and other ~= id then
            return {'name', id, other}
        end
    end
end

local revision = redis.call('INCR', KEYS[2])

for i = 0, n - 1 do
    local at = first + i * 9
    local op, kind, id = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local field = kind .. '/' .. id
    local docs = hashes[kind]
    local mac, name, was = ARGV[at + 5], ARGV[at + 6], ARGV[at + 7]

    if was ~= '' and was ~= name
        and redis.call('HGET', KEYS[6], was) == id
    then
        redis.call('HDEL', KEYS[6], was)
    end

    if op == 'put' then
        redis.call('HSET', docs, id, ARGV[at + 4])
        redis.call('HSET', KEYS[3], field, revision)

        if name ~= '' then
            redis.call('HSET', KEYS[6], name, id)
        end

        if mac ~= '' then
            redis.call('HSET', KEYS[7], id, mac)
        end

    else
        redis.call('HDEL', docs, id)
        redis.call('HDEL', KEYS[3], field)

        if kind == 'service' then
            redis.call('HDEL', KEYS[7], id)
        end
    end

    redis.call('XADD', KEYS[8], 'MAXLEN', '~', ARGV[5], '*',
               'kind', kind, 'id', id, 'revision', revision)

    if ARGV[at + 8] ~= '' then
        local history = KEYS[13 + i]

        redis.call('LPUSH', history, ARGV[at + 8])
        redis.call('LTRIM', history, 0, ARGV[7] - 1)
        redis.call('EXPIRE', history, ARGV[8])
    end
end

local at = first + n * 9

for i = 1, tonumber(ARGV[at]) do
    local e = at + 1 + (i - 1) * 4

    redis.call('XADD', KEYS[9], 'MAXLEN', '~', ARGV[6], '*',
               'type', ARGV[e], 'kind', ARGV[e + 1], 'id', ARGV[e + 2],
               'data', ARGV[e + 3])
end

return {'ok', revision}
