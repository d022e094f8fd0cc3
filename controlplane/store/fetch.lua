-- Reads documents with their revisions and MACs, all as of one moment.
--
-- --input   KEYS  services instances revisions macs rules
--           ARGV  kind id, for each document
-- --output  text revision mac, for each document; false for what is not there

local hashes = { service = KEYS[1], instance = KEYS[2], rule = KEYS[5] }
local out = {}

for i = 1, #ARGV, 2 do
    local kind, id = ARGV[i], ARGV[i + 1]

    out[#out + 1] = redis.call('HGET', hashes[kind], id)
    out[#out + 1] = redis.call('HGET', KEYS[3], kind .. '/' .. id)
    out[#out + 1] = kind == 'service' and redis.call('HGET', KEYS[4], id)
end

return out
