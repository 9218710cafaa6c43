package forgeapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// GraphQLError is a query that GitHub refused.
type GraphQLError struct {
	Host    string
	Type    string // such as FORBIDDEN; "" for an invalid query
	Message string
	Hint    string
}

func (e *GraphQLError) Error() string {
	text := e.Host + " refused: " + e.Message
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// GraphQL sends a query or mutation to the GraphQL API and reads its data into a value; nil for none.
func (g *GitHub) GraphQL(ctx context.Context, query string, variables map[string]any, into any) error {
	api := *g.api
	api.Path = strings.TrimSuffix(api.Path, "/v3") + "/graphql" // /api/graphql beside /api/v3 at GitHub Enterprise Server
	req, err := g.NewRequest(ctx, http.MethodPost, api.String(), map[string]any{"query": query, "variables": variables})
	if err != nil {
		return fmt.Errorf("building a request to %s: %w", g.Host, err)
	}
	var answer struct {
		Data   json.RawMessage
		Errors []struct{ Type, Message string }
	}
	if _, err := g.Do(req, &answer); err != nil {
		return g.Error(err)
	}
	if len(answer.Errors) > 0 {
		return g.refused(answer.Errors[0].Type, answer.Errors[0].Message)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer.Data, into); err != nil {
		return g.Unexpected("")
	}
	return nil
}

func (e *Endpoint) refused(kind, message string) *GraphQLError {
	out := &GraphQLError{Host: e.Host, Type: e.Clean(kind), Message: e.Clean(message)}
	switch kind {
	case "FORBIDDEN", "INSUFFICIENT_SCOPES", "NOT_FOUND":
		out.Hint = "the token needs " + e.needs + "; " + e.Hint()
	}
	return out
}
