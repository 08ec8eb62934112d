// The few questions that the page asks: why none of the classes fits, what a class is called; and the list of keys.

import { html, nothing, render } from "/page/lit-html.js";
import { HELP } from "/page/keys.js";

export class Dialogs {
  constructor(app, dialog) {
    Object.assign(this, { app, dialog });
    dialog.addEventListener("keydown", (event) => this.key(event));
    dialog.addEventListener("click", (event) => event.target === dialog && this.shut());
  }

  get open() {
    return this.dialog.open;
  }

  ask(name, about = "") {
    this.name = name;
    const form = { none: () => this.none(), add: () => this.add(about), rename: () => this.rename(about), help: () => this.help() }[name]();
    render(nothing, this.dialog); // so that the fields begin anew
    render(form, this.dialog);
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.querySelector("[autofocus]")?.focus();
  }

  /** Close; the focus leaves at once, as keys that come before the next frame are meant for the page. */
  shut() {
    document.activeElement?.blur?.();
    this.dialog.close();
  }

  frame(title, body, act = null, word = "") {
    const submit = (event) => {
      event.preventDefault();
      this.shut();
      act?.(new FormData(event.target));
    };
    return html`<form @submit=${submit}>
      <h2 id="dialog-title" tabindex="-1" ?autofocus=${!act}>${title}</h2>
      ${body}
      <p class="buttons">
        <button type="button" @click=${() => this.shut()}>${act ? "cancel" : "close"} <kbd>Esc</kbd></button>
        ${act ? html`<button class="main"><span class="word">${word}</span> <kbd>Enter</kbd></button>` : nothing}
      </p>
    </form>`;
  }

  none() {
    this.rows = this.app.target;
    const count = this.rows.length;
    return this.frame(
      count > 1 ? `${count} images show none of the classes` : "Not any of these",
      html`<p>Why?</p>
        <div class="reasons">
          ${this.app.reasons.map((reason, place) => html`<button type="button" @click=${() => this.because(reason)}><kbd>${place + 1}</kbd> ${reason}</button>`)}
        </div>
        <label>or in words <input name="reason" autocomplete="off" autofocus maxlength="500" /></label>`,
      (given) => this.because(given.get("reason").trim()),
      "save",
    );
  }

  because(reason) {
    this.shut();
    this.app.answer(this.rows, { state: "none", reason });
  }

  add(name) {
    return this.frame(
      "A new class",
      html`<label>name <input name="name" .value=${name} autocomplete="off" autofocus required maxlength="200" /></label>`,
      (given) => {
        this.app.addClass(given.get("name"));
        this.app.draw();
      },
      "add",
    );
  }

  rename(name) {
    const { classes, counts } = this.app.items;
    if (!classes.length) return this.add("");
    const told = () => {
      const { name: from, to } = Object.fromEntries(new FormData(this.dialog.querySelector("form")));
      this.dialog.querySelector(".word").textContent = to.trim() !== from && classes.includes(to.trim()) ? "merge" : "rename";
      this.dialog.querySelector(".remove").disabled = Boolean(counts.get(from));
    };
    const chosen = (event) => {
      this.dialog.querySelector("[name=to]").value = event.target.value; // or else it would be one with the class before
      told();
    };
    const remove = () => {
      const { value } = this.dialog.querySelector("[name=name]");
      this.shut();
      this.app.removeClass(value);
    };
    return this.frame(
      "Rename, merge or remove a class",
      html`<label>class
          <select name="name" @change=${chosen}>
            ${classes.map((one) => html`<option value=${one} ?selected=${one === name}>${one} (${counts.get(one) ?? 0})</option>`)}
          </select></label>
        <label>becomes <input name="to" list="dialog-classes" .value=${name} autocomplete="off" autofocus required maxlength="200" @input=${told} /></label>
        <datalist id="dialog-classes">${classes.map((one) => html`<option value=${one}></option>`)}</datalist>
        <p class="note">With the name of another class both become one, in all answers.</p>
        <p class="note"><button type="button" class="remove" ?disabled=${Boolean(counts.get(name))} @click=${remove}>remove</button> takes away a class that no answer has.</p>`,
      (given) => this.app.renameClass(given.get("name"), given.get("to")),
      "rename",
    );
  }

  help() {
    const { app } = this;
    return this.frame(
      "Keys",
      html`<dl>${HELP.map(([keys, text]) => html`<dt>${keys}</dt><dd>${text}</dd>`)}</dl>
        <label>your name, kept with your answers
          <input .value=${app.by} autocomplete="off" maxlength="100" @input=${(event) => {
            app.by = event.target.value.trim();
            localStorage.setItem("activetune:by", app.by);
          }} /></label>
        <p class="note">${app.suggesting ? `Suggestions come ${app.suggestions.by}. Each answer is kept with what was suggested.` : "No suggestions are shown."}</p>`,
    );
  }

  key(event) {
    event.stopPropagation();
    const place = Number(event.key) - 1;
    const field = this.dialog.querySelector("[name=reason]");
    if (this.name === "none" && field && !field.value && this.app.reasons[place]) {
      event.preventDefault();
      this.because(this.app.reasons[place]);
    }
  }
}
