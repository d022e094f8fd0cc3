-- Reads documents with their revisions and MACs, all as of one moment.
--
-- --input   KEYS  services instances revisions macs
--           ARGV  kind id, for each document
-- --output  text revision mac, for each document; false for what is not there

local out = {}

for i = 1, #ARGV, 2 do
    local kind, id = ARGV[i], ARGV[i + 1]
    local docs = kind == 'service' and KEYS[1] or KEYS[2]

    out[#out + 1] = redis.call('HGET', docs, id)
    out[#out + 1] = redis.call('HGET', KEYS[3], kind .. '/' .. id)
    out[#out + 1] = kind == 'service' and redis.call('HGET', KEYS[4], id)
end

return out
