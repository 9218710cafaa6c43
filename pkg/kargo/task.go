package kargo

import (
	"slices"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// Variables of the PromotionTasks.
const (
	apiVar       = "api"    // URL of the forge's API
	webVar       = "web"    // URL of the forge for people
	secretVar    = "secret" // name of the Secret with the token
	keyVar       = "key"    // key in that Secret
	refVar       = "ref"    // branch
	repoVar      = "repo"   // GitHub and Gitea: owner/repo
	workflowVar  = "workflow"
	inputsVar    = "inputs"
	projectVar   = "project" // GitLab: path, escaped
	variablesVar = "variables"
)

const (
	token = "trim(secret(vars." + secretVar + ")[vars." + keyVar + "])"

	accepted = "response.status >= 200 && response.status < 300"
	// refusedForGood matches permanent errors: a 4xx response with a message in JSON. Responses of gateways have none, or a 404 with
	// other words. Four 4xx statuses are retried: 401 (the token is being replaced), 403 and 429 (rate limits) and 408.
	refusedForGood = "response.status >= 400 && response.status < 500 && !(response.status in [401, 403, 408, 429]) && " +
		isMap + " && (response.body.message ?? response.body.error) != nil" +
		" && (response.status != 404 || lower(" + refusal + ") contains 'not found')"
	unsent  = "(task.outputs?." + DispatchStep + "?.run ?? '') == ''"
	known   = "success() && (task.outputs?." + DispatchStep + "?.run ?? '" + UnknownRun + "') != '" + UnknownRun + "'"
	isMap   = "type(response.body) == 'map'"
	refusal = "string(response.body.message ?? response.body.error)"
)

// refusedByGitea matches permanent errors of Gitea and Forgejo: each links to the description of the API. Gitea answers 403 for a
// workflow that somebody has disabled.
const refusedByGitea = "response.status >= 400 && response.status < 500 && !(response.status in [401, 408, 429]) && " +
	isMap + " && (response.body.url ?? '') endsWith '/api/swagger' && (response.status != 403 || " + refusal + " contains 'is disabled')"

// dispatchRetry bounds the attempts to start a run.
func dispatchRetry() *Retry { return &Retry{ErrorThreshold: 100, Timeout: "2h"} }

// runRetry bounds the wait for a run. A run that takes longer than a day counts as failed, as in package policy.
func runRetry() *Retry { return &Retry{ErrorThreshold: 1000, Timeout: "24h"} }

const (
	requestTimeout   = "30s"
	dispatchInterval = "30s"
	runInterval      = "1m"
)

// taskSpec is what distinguishes the PromotionTask of a provider.
type taskSpec struct {
	name, about string
	vars        []Var // after those that all have
	steps       func() []Step
	call        func(img *config.Image, sources []source) []Var // of a Stage, after those for the API
}

var taskSpecs = map[config.Provider]taskSpec{
	config.GitHub: {
		name: gitHubTask, about: "Starts a GitHub Actions workflow and waits for the run",
		vars: []Var{{repoVar, ""}, {workflowVar, ""}, {inputsVar, value("{}")}}, steps: githubSteps, call: workflowVars,
	},
	config.GitLab: {
		name: gitLabTask, about: "Starts a GitLab pipeline and waits for it",
		vars: []Var{{projectVar, ""}, {variablesVar, value("[]")}, {inputsVar, value("{}")}}, steps: gitlabSteps, call: pipelineVars,
	},
	config.Gitea: {
		name: giteaTask, about: "Starts a workflow of Gitea or Forgejo and waits for the run",
		vars: []Var{{repoVar, ""}, {workflowVar, ""}, {inputsVar, value("{}")}}, steps: giteaSteps, call: workflowVars,
	},
}

// task returns the PromotionTask of a provider.
func (b *builder) task(p config.Provider) *PromotionTask {
	spec := taskSpecs[p]
	t := &PromotionTask{Header: b.header(kargoAPI, "PromotionTask", spec.name), Spec: PromotionTaskSpec{
		Vars:  slices.Concat(b.apiVars(&config.Source{Provider: p, Host: config.HomeHost(p)}), []Var{{refVar, ""}}, spec.vars),
		Steps: append([]Step{hasToken()}, spec.steps()...),
	}}
	t.Metadata.Annotations, t.comment = Annotations{syncWave: waveShared, description: spec.about}, spec.about+"."
	return t
}

// apiVars returns the variables for the API of a source. They are empty for a provider without a public host.
func (b *builder) apiVars(src *config.Source) []Var {
	if src.Host == "" {
		return []Var{{apiVar, ""}, {webVar, ""}, {secretVar, ""}, {keyVar, ""}}
	}
	secret := apiSecret(b.cfg, src.Host)
	return []Var{{apiVar, src.APIURL()}, {webVar, src.WebURL()}, {secretVar, secret.Secret}, {keyVar, secret.Key}}
}

// hasToken fails the Promotion if the token is missing. Without it the request would be rejected and retried for hours.
func hasToken() Step {
	return Step{
		As: "token", If: value(token + " == ''"), Uses: "fail",
		Config: map[string]string{"message": "Secret ${{ vars." + secretVar + " }} has no key ${{ vars." + keyVar + " }}: create it with a token for ${{ vars." + apiVar + " }}"},
	}
}

func githubSteps() []Step {
	const (
		runs = "${{ vars.api }}/repos/${{ vars.repo }}/actions"
		// Old servers reject the request because of the unknown parameter return_run_details.
		tooOld = "(response.status == 422 && (response.body?.message ?? '') contains 'return_run_details')"
		over   = "response.status == 200 && response.body.status == 'completed'"
	)
	headers := []HTTPHeader{
		{"Authorization", "Bearer ${{ " + token + " }}"},
		{"Accept", "application/vnd.github+json"},
		{"Content-Type", "application/json"},
	}
	dispatch := HTTPConfig{
		Method: "POST", URL: runs + "/workflows/${{ vars.workflow }}/dispatches", Headers: headers,
		Body:    value("quote({'ref': vars.ref, 'return_run_details': true, 'inputs': vars.inputs})"),
		Timeout: requestTimeout, PollInterval: dispatchInterval,
		SuccessExpression: accepted + " || " + tooOld,
		FailureExpression: refusedForGood + " && !" + tooOld,
		ErrorExpression:   refusal,
		Outputs: []HTTPOutput{
			{"run", "response.status == 200 && " + isMap + " && response.body.workflow_run_id != nil ? string(int(response.body.workflow_run_id)) : '" + UnknownRun + "'"},
			{"url", "response.status == 200 && " + isMap + " ? (response.body.html_url ?? '') : ''"},
			{"refused", "response.status == 422"},
		},
	}
	legacy := dispatch
	legacy.Body = value("quote({'ref': vars.ref, 'inputs': vars.inputs})")
	legacy.SuccessExpression, legacy.FailureExpression = accepted, refusedForGood
	legacy.Outputs = []HTTPOutput{{"sent", "true"}}
	return []Step{
		{As: DispatchStep, If: value("success() && " + unsent), Retry: dispatchRetry(), Uses: "http", Config: dispatch},
		{
			As: "legacy", Retry: dispatchRetry(), Uses: "http", Config: legacy,
			If: value("success() && (task.outputs?." + DispatchStep + "?.refused ?? false) && !(task.outputs?.legacy?.sent ?? false)"),
		},
		runLinks("vars.web + '/' + string(vars.repo) + '/actions/workflows/' + string(vars.workflow)", "Workflow"),
		{As: runStep, If: value(known), Retry: runRetry(), Uses: "http", Config: HTTPConfig{
			Method: "GET", URL: runs + "/runs/${{ task.outputs." + DispatchStep + ".run }}", Headers: headers[:2],
			Timeout: requestTimeout, PollInterval: runInterval,
			SuccessExpression: over + " && response.body.conclusion == 'success'",
			FailureExpression: over + " && response.body.conclusion != 'success'",
			ErrorExpression:   "response.body.html_url + ' ended as ' + response.body.conclusion",
		}},
	}
}

// runLinks returns the step whose output Kargo's UI shows as links: to the run, if the forge returned its URL, and to the page of all
// runs. It precedes the step that waits for the run.
func runLinks(all, label string) Step {
	const url = "(task.outputs?." + DispatchStep + "?.url ?? '')"
	return Step{As: linksStep, Uses: "compose-output", Config: map[string]string{
		"links": value("concat(" + url + " == '' ? [] : [{'url': " + url + ", 'label': 'Run'}], [{'url': " + all + ", 'label': '" + label + "'}])"),
	}}
}

func gitlabSteps() []Step {
	const pipeline = "${{ vars.api }}/projects/${{ vars.project }}/pipeline"
	headers := []HTTPHeader{{"PRIVATE-TOKEN", exactly(token)}, {"Content-Type", "application/json"}}
	return []Step{
		{As: DispatchStep, If: value("success() && " + unsent), Retry: dispatchRetry(), Uses: "http", Config: HTTPConfig{
			Method: "POST", URL: pipeline, Headers: headers,
			Body:    value("quote(len(vars.inputs) == 0 ? {'ref': vars.ref, 'variables': vars.variables} : {'ref': vars.ref, 'variables': vars.variables, 'inputs': vars.inputs})"),
			Timeout: requestTimeout, PollInterval: dispatchInterval,
			SuccessExpression: accepted,
			FailureExpression: refusedForGood,
			ErrorExpression:   refusal,
			Outputs: []HTTPOutput{
				{"run", isMap + " && response.body.id != nil ? string(int(response.body.id)) : '" + UnknownRun + "'"},
				{"url", isMap + " ? (response.body.web_url ?? '') : ''"},
			},
		}},
		runLinks("vars.web + '/' + replace(string(vars.project), '%2F', '/') + '/-/pipelines'", "Pipelines"),
		{As: runStep, If: value(known), Retry: runRetry(), Uses: "http", Config: HTTPConfig{
			Method: "GET", URL: pipeline + "s/${{ task.outputs." + DispatchStep + ".run }}", Headers: headers[:1],
			Timeout: requestTimeout, PollInterval: runInterval,
			SuccessExpression: "response.status == 200 && response.body.status == 'success'",
			FailureExpression: "response.status == 200 && response.body.status in ['failed', 'canceled', 'skipped']",
			ErrorExpression:   "response.body.web_url + ' ended as ' + response.body.status",
		}},
	}
}

func giteaSteps() []Step {
	const (
		runs = "${{ vars.api }}/repos/${{ vars.repo }}/actions"
		// The run, for which Gitea and Forgejo have other names.
		run = "(" + isMap + " ? response.body.workflow_run_id ?? response.body.id : nil)"
		// Gitea has a status and a conclusion, Forgejo a status only.
		succeeded = "(response.body.conclusion == 'success' || response.body.status == 'success')"
		over      = "response.status == 200 && response.body.status in ['completed', 'success', 'failure', 'cancelled', 'skipped']"
	)
	headers := []HTTPHeader{{"Authorization", "Bearer ${{ " + token + " }}"}, {"Content-Type", "application/json"}}
	return []Step{
		{As: DispatchStep, If: value("success() && " + unsent), Retry: dispatchRetry(), Uses: "http", Config: HTTPConfig{
			Method: "POST", URL: runs + "/workflows/${{ vars.workflow }}/dispatches?return_run_details=true", Headers: headers,
			Body:    value("quote({'ref': vars.ref, 'return_run_info': true, 'inputs': vars.inputs})"),
			Timeout: requestTimeout, PollInterval: dispatchInterval,
			SuccessExpression: accepted,
			FailureExpression: refusedByGitea,
			ErrorExpression:   refusal,
			Outputs: []HTTPOutput{
				{"run", run + " != nil ? string(int(" + run + ")) : '" + UnknownRun + "'"},
				{"url", isMap + " ? (response.body.html_url ?? '') : ''"},
			},
		}},
		runLinks("vars.web + '/' + string(vars.repo) + '/actions?workflow=' + string(vars.workflow)", "Workflow"),
		{As: runStep, If: value(known), Retry: runRetry(), Uses: "http", Config: HTTPConfig{
			Method: "GET", URL: runs + "/runs/${{ task.outputs." + DispatchStep + ".run }}", Headers: headers[:1],
			Timeout: requestTimeout, PollInterval: runInterval,
			SuccessExpression: over + " && " + succeeded,
			FailureExpression: over + " && !" + succeeded,
			ErrorExpression:   "response.body.html_url + ' ended as ' + (response.body.conclusion ?? response.body.status)",
		}},
	}
}
