// What every part of the page needs: elements made of text alone, figures, and questions to the server.
export const element = (id) => document.getElementById(id);
export const make = (tag, text, className) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
};
export const figure = (value, digits = 6) =>
  value === null || value === undefined ? "not measured" : Number(value).toFixed(digits).replace("-", "−");
export const short = (value) => (value === null || value === undefined ? "" : String(+Number(value).toPrecision(6)).replace("-", "−"));
export const ask = async (path, options) => {
  const answer = await fetch(path, options);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error ?? `status ${answer.status}`);
  return body;
};
// Answers come in any order: whoever asked again is given the last one's alone, and null for those before it.
export const askingAnew = () => {
  let newest = 0;
  return async (path) => {
    const mine = ++newest;
    try {
      const told = await ask(path);
      return mine === newest ? told : null;
    } catch (error) {
      if (mine === newest) throw error;
      return null;
    }
  };
};
