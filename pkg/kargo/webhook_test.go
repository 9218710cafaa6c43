package kargo

import (
	"encoding/json"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const webhookImages = `[{name: a, repository: o/a, source: {provider: webhook, repo: "https://git.example.com/o/a.git", webhook: {
	url: "https://ci.example.com/start", method: PUT, query: {image: "{{image}} & co", base: "{{base}}"},
	headers: {X-Id: "r {{promotion}}", Authorization: {secret: ci, key: token, prefix: "Bearer "}},
	body: {ref: "}}${% secret('ci') %}${{ x", digest: "{{digest}}", list: [1, 2.5, true, null, "a\"b"]},
	success: {status: [200, 202], body: {data.state: "queued"}}}}}]`

func newWebhookPromotion(t *testing.T, answer forge) *promotion {
	fl := fleet{Images: webhookImages, Uses: map[string][]string{"a": {"docker.io/library/node:22"}}}
	return &promotion{
		t: t, objects: fl.objects(t), stage: "rebuild-a", freight: nodeFreight(), forge: answer,
		secrets: map[string]map[string]string{"ci": {"token": "hook-token\n"}},
	}
}

func TestWebhookPromotion(t *testing.T) {
	queued := answer{202, body{"data": body{"state": "queued"}}}
	tests := []struct {
		name    string
		posts   []answer
		ok      bool
		puts    int
		message string
	}{
		{"accepted", []answer{queued}, true, 1, ""},
		{"another status", []answer{{201, body{"data": body{"state": "queued"}}}}, false, 1, "ci.example.com answered 201"},
		{"another body", []answer{{200, body{"data": body{"state": "refused"}}}}, false, 1, "ci.example.com answered 200"},
		{"no body", []answer{{200, nil}}, false, 1, "ci.example.com answered 200"},
		{"a body of another form", []answer{{200, body{"data": nil}}}, false, 1, "ci.example.com answered 200"},
		{"refused", []answer{{422, body{"message": "hook-token"}}}, false, 1, "ci.example.com answered 422"},
		{"redirect", []answer{{302, nil}}, false, 1, "ci.example.com answered 302"},
		{"tried again", []answer{{502, "<html>"}, {404, nil}, {401, nil}, {429, nil}, queued}, true, 5, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			next := script(tt.posts, nil)
			p := newWebhookPromotion(t, func(r request) answer { r.method = "POST"; return next(r) })
			assert.Equal(t, tt.ok, p.run())
			assert.Equal(t, tt.message, p.message)
			puts := p.sent("PUT")
			require.Len(t, puts, tt.puts)
			u, err := url.Parse(puts[0].url)
			require.NoError(t, err)
			assert.Equal(t, "https://ci.example.com/start", u.Scheme+"://"+u.Host+u.Path)
			assert.Equal(t, url.Values{"image": {"a & co"}, "base": {"docker.io/library/node:22"}}, u.Query())
			assert.Equal(t, map[string]string{"Content-Type": "application/json", "Authorization": "Bearer hook-token", "X-Id": "r the-promotion"}, puts[0].header)
			assert.JSONEq(t, `{"ref": "}}${% secret('ci') %}${{ x", "digest": "sha256:abc", "list": [1, 2.5, true, null, "a\"b"]}`, puts[0].body)
		})
	}
}

func TestWebhookIsSentOnce(t *testing.T) {
	queued := answer{202, body{"data": body{"state": "queued"}}}
	p := newWebhookPromotion(t, func(request) answer { return queued })
	require.True(t, p.run())
	require.True(t, p.run())
	assert.Len(t, p.requests, 1)
	assert.Equal(t, UnknownRun, p.outputs[DispatchStep].(map[string]any)["run"])
}

func TestWebhookWithoutSecret(t *testing.T) {
	p := newWebhookPromotion(t, nil)
	p.secrets = nil
	assert.False(t, p.run())
	assert.Equal(t, "Secret ci has no key token: create it with the value of the header Authorization", p.message)
	assert.Empty(t, p.requests)
}

func TestSecretsOfWebhooks(t *testing.T) {
	secrets := Secrets(load(t, webhookImages))
	assert.Equal(t, []Secret{{Name: "ci", CredType: "generic", Keys: []SecretUse{{Key: "token", Use: HeaderUse, Host: "ci.example.com", Kargo: true}}}}, secrets)
	data, err := json.Marshal(newWebhookPromotion(t, nil).objects)
	require.NoError(t, err)
	assert.NotContains(t, string(data), "hook-token")
}
