-- Asks nauth whether a request may pass, and tells the app who its user is.

local VERIFY = "http://127.0.0.1:8080/auth/verify"
local TIMEOUT_MS = 5000

-- What nauth answers and the app is told, whatever the client sent under these names.
local TOLD = {
    "remote-user", "remote-email", "remote-name", "remote-groups", "remote-groups-truncated",
    "cookie", "authorization",
}
-- What of a refusal the client gets to see.
local SHOWN = {
    "location", "set-cookie", "www-authenticate", "content-type", "cache-control", "retry-after", "x-nauth-intercepted",
    "vary", "access-control-allow-origin", "access-control-allow-credentials", "access-control-expose-headers",
}
-- What belongs to the request's own connection and body.
local LEFT_OUT = { "connection", "content-length", "expect", "host", "keep-alive", "te", "transfer-encoding", "upgrade" }

local function question(txn)
    local headers = txn.http:req_get_headers()
    for _, name in ipairs(LEFT_OUT) do
        headers[name] = nil
    end
    headers["x-forwarded-method"] = { txn.sf:method() }
    headers["x-forwarded-proto"] = { txn.f:ssl_fc() == 1 and "https" or "http" }
    headers["x-forwarded-host"] = { txn.sf:req_fhdr("host") }
    headers["x-forwarded-uri"] = { txn.sf:pathq() }
    headers["x-forwarded-for"] = { txn.sf:src() }
    return headers
end

local function refuse(txn, answer)
    local reply = txn:reply({ status = answer.status, body = answer.body })
    for _, name in ipairs(SHOWN) do
        for _, value in pairs(answer.headers[name] or {}) do
            reply:add_header(name, value)
        end
    end
    txn:done(reply)
end

core.register_action("nauth", { "http-req" }, function(txn)
    local answer = core.httpclient():get({ url = VERIFY, headers = question(txn), timeout = TIMEOUT_MS })
    if answer == nil or answer.status == nil or answer.status == 0 then
        txn:done(txn:reply({ status = 503 }))
        return
    end
    if answer.status ~= 200 then
        refuse(txn, answer)
        return
    end
    for _, name in ipairs(TOLD) do
        txn.http:req_del_header(name)
        for _, value in pairs(answer.headers[name] or {}) do
            if value ~= "" then
                txn.http:req_add_header(name, value)
            end
        end
    end
end, 0)
